"""LEAN's data folders. Their bars are read by the provider of text files, which knows LEAN's layouts."""
