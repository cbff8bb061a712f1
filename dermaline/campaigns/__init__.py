"""Campaigns: the rows of a table of results, planned, trained on one machine or many, and compared."""
