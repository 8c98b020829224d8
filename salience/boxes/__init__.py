"""Adapters: the only place that knows pixels, devices and other libraries' classifiers."""
