"""Models trained on the masks that dico makes."""
