"""Why did the classifier say that? Saliency maps for any image classifier, measured and fast."""
