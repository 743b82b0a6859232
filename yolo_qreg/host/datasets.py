"""From `--data voc|shapes|file.yaml` to the YAML file that the host reads."""

from __future__ import annotations

from pathlib import Path

from ultralytics.utils import DATASETS_DIR, ONLINE

from yolo_qreg.data.registry import named_data
from yolo_qreg.errors import InputError


def resolve_data(data: str | Path) -> Path:
    """Return the YAML file of a data set; `shapes` is generated on first use.

    Raises:
        InputError: If the file is missing, or `voc` is neither on this machine nor to be downloaded.
    """
    if str(data) == "voc":
        places = (Path("VOC"), DATASETS_DIR / "VOC")  # where the host looks for a relative `path:`
        if not ONLINE and not any(place.exists() for place in places):
            raise InputError(
                f"data=voc: there is no {places[1]} and no network to download it; build it from a VOCdevkit folder "
                f"with `yolo-qreg data voc --devkit DIR --out {places[1]}`, or use --data shapes"
            )
    found = named_data(str(data)) or Path(data)
    if found.suffix not in {".yaml", ".yml"}:
        raise InputError(f"data={data} is neither voc, shapes nor a YAML file")
    if not found.is_file() and found.parent != Path():  # a bare name may be one that the host ships, like coco8.yaml
        raise InputError(f"data={data} does not exist; name a data set's YAML file, voc or shapes")
    return found
