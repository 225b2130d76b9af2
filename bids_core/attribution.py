"""From gradient features to the attribution matrix; defined in `bids_core.influence.attribution`.

The public name: `influence(train_CNP, validation_CMP, checkpoint_weights_C) -> [N, M]`.
"""

from bids_core.influence.attribution import influence, stream_influence
from bids_core.influence.stored import Attribution, open_attribution

__all__ = ["Attribution", "influence", "open_attribution", "stream_influence"]
