"""From whatever a person has to clean datasets, and from those to the numbers a model reads.

Names are imported from their own files, so that starting up loads no table or tokenizer library.
"""
