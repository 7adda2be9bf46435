"""From a model and a text to activations; torch is imported only when an extraction runs."""

from geometry_of_trust.extraction.pipeline import Extraction, extract
from geometry_of_trust.extraction.record import Record, Token, WrittenFile
from geometry_of_trust.extraction.record_reading import read_record

__all__ = ["Extraction", "Record", "Token", "WrittenFile", "extract", "read_record"]
