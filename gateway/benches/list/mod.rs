//! A list of containers as a collector answers it.

use serde_json::{Value, json};

pub(crate) fn of(count: usize) -> Value {
    let rows: Vec<Value> = (1..=count).map(container).collect();
    json!({"groups": [{"name": "shop", "source": "compose", "containers": rows}],
           "total": count, "archived_count": 0})
}

fn container(id: usize) -> Value {
    json!({"id": id, "external_id": format!("{id:064x}"), "name": format!("shop-web-{id}"),
           "image": "registry.example/shop/web:1.27", "state": "running",
           "health_status": "healthy", "has_health_check": true, "orchestration_group": "shop",
           "orchestration_unit": "web", "is_ignored": false, "alert_severity": "warning",
           "restart_threshold": 3, "archived": false, "first_seen_at": "2026-05-05T10:00:00Z",
           "last_state_change_at": "2026-05-05T10:00:00Z", "runtime_type": "docker",
           "pod_count": 0, "ready_count": 0})
}
