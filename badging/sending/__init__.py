"""The engine: takes what is due, issues it in Navigatr, and writes down what became of it; `rounds` tells the story."""
