import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # warmup.py and clock_faces.py, beside the tests
