"""Other tools' files: what each format holds, and how it comes into a lake and out of it.

A format is one declaration in `registry` and one module that reads or writes it. No format imports another.
"""
