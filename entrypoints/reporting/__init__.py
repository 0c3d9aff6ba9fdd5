"""From finished studies to findings, figures and words."""
