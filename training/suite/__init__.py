"""An evaluation on several data sets: where data, evaluation and models meet."""
