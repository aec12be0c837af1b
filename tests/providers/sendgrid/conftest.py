import sys
from pathlib import Path

for folder in Path(__file__).resolve().parents[1:3]:  # provider_cases.py and shared_files.py
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
