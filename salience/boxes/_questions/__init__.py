"""What is asked of a model that answers for places: of a detection, or of a region. One file a question."""
