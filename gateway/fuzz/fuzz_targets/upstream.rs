//! Answers of a server that is not ours are read or refused, whatever they say. The first byte
//! chooses the type.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maintenant_api::{
    alerts, certificates, containers, endpoints, error, health, heartbeats, insights, resources,
    status, updates,
};
use maintenant_gateway::listed;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What was read can be written.
fn both<T: DeserializeOwned + Serialize>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        serde_json::to_vec(&value).expect("what was read can be written");
    }
}

fn read<T: DeserializeOwned>(data: &[u8]) {
    let _ = serde_json::from_slice::<T>(data);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 24 {
        0 => both::<containers::ContainerDetail>(data),
        1 => both::<containers::ContainerLogs>(data),
        2 => both::<containers::TransitionList>(data),
        3 => both::<endpoints::CheckList>(data),
        4 => both::<endpoints::EndpointStatistics>(data),
        5 => both::<alerts::Alert>(data),
        6 => both::<alerts::SilenceList>(data),
        7 => both::<certificates::CertificateList>(data),
        8 => both::<heartbeats::HeartbeatList>(data),
        9 => both::<heartbeats::HeartbeatDetail>(data),
        10 => both::<resources::ResourceSummary>(data),
        11 => both::<resources::TopConsumers>(data),
        12 => both::<updates::UpdateList>(data),
        13 => both::<updates::UpdateDetail>(data),
        14 => both::<updates::UpdateSummary>(data),
        15 => both::<status::IncidentList>(data),
        16 => both::<status::Maintenance>(data),
        17 => both::<insights::ContainerInsights>(data),
        18 => both::<health::RuntimeStatus>(data),
        19 => both::<error::ErrorBody>(data),
        20 => read::<listed::ListedEndpoint>(data),
        21 => read::<listed::ListedAlert>(data),
        22 => read::<listed::StatusComponent>(data),
        _ => read::<listed::Listed>(data),
    }
});
