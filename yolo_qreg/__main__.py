"""`python -m yolo_qreg` is `yolo-qreg`."""

from yolo_qreg.cli import run

if __name__ == "__main__":
    run()
