"""What two or more methods share, one idea a file."""
