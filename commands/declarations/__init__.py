"""What is declared in one place and needs its counterpart in another: what is missing, before anything runs.

Each check is a pure function of what it compares. It returns a line for each omission, with the thing that is not whole
and the file and the line to add. `./covenant test --static` runs them all (`python -m commands.declarations`); a run
first checks its own profile (`loads.problems_of`).
"""
