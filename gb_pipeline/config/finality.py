"""How many days bars are provisional at least: what holds where gb.yaml says nothing, and the most that it may say."""

# What is wrong on a Friday is corrected on Monday.
SETTLE_DAYS = 3
MOST_SETTLE_DAYS = 3650
