"""Measuring on an Android device that hangs on a cable."""
