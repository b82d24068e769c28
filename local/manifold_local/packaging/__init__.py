"""From the source to what Lambda runs: a layer, and a folder for each function.

Needs nothing but Python and pip, because ``sam build`` runs it (``infra/Makefile``) wherever that is.
"""
