"""What is told of a run: tables of what the stages measured, and the page that the stage `report` makes of them."""
