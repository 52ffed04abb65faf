"""What is said and shown of synthetic rows: one page, its figures, and the same as markdown and as numbers."""
