"""Text at published quality: each row of the table in `rows` is run again by one command, as a person would run it.

python -m benchmarks.quality --data FOLDER [ROW ...]
"""
