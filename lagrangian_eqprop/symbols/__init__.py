"""What users write: terms, systems and costs as sympy expressions, checked and read into graphs."""
