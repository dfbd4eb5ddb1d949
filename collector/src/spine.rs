//! What every dimension is given to work with.

use crate::containers::inventory::InventoryReader;
use crate::http::events::EventBus;
use crate::net::Net;
use crate::problems::Problems;
use crate::runtime::RuntimeState;
use crate::store::Store;

/// Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Spine {
    pub store: Store,
    pub events: EventBus,
    pub runtime: RuntimeState,
    /// What runs now. While the runtime is not connected it says what ran last.
    pub inventory: InventoryReader,
    pub net: Net,
    pub problems: Problems,
}
