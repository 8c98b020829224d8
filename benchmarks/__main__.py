"""`python -m benchmarks`: the figures of docs/results/speed.md. The tables of maps are modules of their own."""

from benchmarks.speed import main

if __name__ == "__main__":
    main()
