"""What is written as text: strict JSON, extraction record, probe card, names beside a file."""
