"""The section `external`: photographs of elsewhere that the final model is scored on, by the names of their stages."""

from dermaline.base.parameters import Section


class External(Section):
    photographs: str  # an image, a folder or a zip
    truth: str  # a table of image_id, dx and maybe lesion_id; or in ISIC's form
