"""A page in the browser, on one's own machine: click on a photograph, and see what the click may mean."""
