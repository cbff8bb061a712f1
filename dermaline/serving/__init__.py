"""Trained models over HTTP: the routes, the queue before the one worker, and the page."""
