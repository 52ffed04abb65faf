"""What is said and shown of synthetic samples: one page, its figures, and the same as markdown and as numbers."""
