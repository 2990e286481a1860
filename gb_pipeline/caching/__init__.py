"""This package keeps answers of a lake, so that they need not be made again: in memory, in files, and in Redis.

Nothing here knows what an answer is about. `reading.answers` says under which key one is kept: a key stands for the content of an
answer, so nothing that is kept ever becomes wrong.
"""
