"""One small script a stage; `dvc.yaml` runs each as `python -m stages.NAME`."""
