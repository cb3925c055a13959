"""What a person sees of a run: the progress bar and the picture."""
