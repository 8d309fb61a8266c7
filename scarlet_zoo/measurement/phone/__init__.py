"""Measure on an Android device that is connected by adb."""
