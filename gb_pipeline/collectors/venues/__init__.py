"""This package has one module for each venue; they know nothing of each other."""
