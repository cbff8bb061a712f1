"""Files of the user's own: photographs, and tables of patients, predictions and diagnoses."""
