"""Generated data in the shape of HAM10000: lesions drawn from dermatoscopic criteria, then photographed."""
