"""The cases of the trial `bad_input`: a module a family, a table of them in each."""
