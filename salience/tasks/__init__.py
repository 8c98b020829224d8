"""What every surface calls: explain, measure, export."""
