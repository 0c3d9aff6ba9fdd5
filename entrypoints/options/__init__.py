"""What users set: the options of the commands, how each text is read, and the settings of a study."""
