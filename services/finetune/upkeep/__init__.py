"""What of data sets and jobs nobody needs, and what a backup must hold of them."""
