"""Code that makes the committed evidence; only the drivers in the workshops and the tests import it."""
