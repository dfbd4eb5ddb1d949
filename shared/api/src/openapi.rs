//! One definition, two documents: the schemars schema of a wire type handed to utoipa, so that the
//! OpenAPI document and the MCP tools describe the same JSON.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required};

use crate::{
    alerts, certificates, channels, containers, endpoints, error, health, heartbeats, insights,
    monitors, resources, status, updates,
};

/// The schema of `T` as it is written, with its named parts under `#/components/schemas`.
fn root_schema<T: JsonSchema>() -> (Value, Map<String, Value>) {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut root = Value::from(settings.into_generator().into_root_schema_for::<T>());
    without_const(&mut root);
    let parts = root
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut)
        .map(std::mem::take)
        .unwrap_or_default();
    if let Some(object) = root.as_object_mut() {
        object.remove("components");
        object.remove("title");
    }
    (root, parts)
}

/// utoipa's model of a schema has no `const`: it becomes an `enum` of one.
fn without_const(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(value) = object.remove("const") {
                object.insert("enum".into(), Value::Array(vec![value]));
            }
            object.values_mut().for_each(without_const);
        }
        Value::Array(parts) => parts.iter_mut().for_each(without_const),
        _ => {}
    }
}

fn parsed(schema: Value) -> RefOr<utoipa::openapi::Schema> {
    serde_json::from_value(schema).unwrap_or_default()
}

/// Query parameters from the properties of a query type.
fn parameters<T: JsonSchema>() -> Vec<Parameter> {
    let (root, _) = root_schema::<T>();
    let properties = root.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let object = schema.as_object_mut();
            let description = object.and_then(|object| {
                object.insert("type".into(), "string".into());
                object.remove("default");
                object.remove("description")
            });
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(description.as_ref().and_then(Value::as_str))
                .schema(Some(parsed(schema)))
                .build()
        })
        .collect()
}

macro_rules! bodies {
    ($($type:ty),+ $(,)?) => {$(
        impl utoipa::PartialSchema for $type {
            fn schema() -> RefOr<utoipa::openapi::Schema> {
                parsed(root_schema::<$type>().0)
            }
        }
        impl utoipa::ToSchema for $type {
            fn schemas(schemas: &mut Vec<(String, RefOr<utoipa::openapi::Schema>)>) {
                let (_, parts) = root_schema::<$type>();
                schemas.extend(parts.into_iter().map(|(name, schema)| (name, parsed(schema))));
            }
        }
    )+};
}

macro_rules! queries {
    ($($type:ty),+ $(,)?) => {$(
        impl utoipa::IntoParams for $type {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                parameters::<$type>()
            }
        }
    )+};
}

bodies![
    alerts::Acknowledgement,
    alerts::ActiveAlerts,
    alerts::Alert,
    alerts::AlertList,
    alerts::Silence,
    alerts::SilenceInput,
    alerts::SilenceList,
    certificates::CertificateAnswer,
    certificates::CertificateCheckList,
    certificates::CertificateCreated,
    certificates::CertificateDetail,
    certificates::CertificateInput,
    certificates::CertificateList,
    channels::Channel,
    channels::ChannelInput,
    channels::ChannelList,
    channels::ChannelTest,
    channels::Notification,
    channels::NotificationList,
    channels::RoutingRule,
    channels::RoutingRuleInput,
    channels::Webhook,
    channels::WebhookCreated,
    channels::WebhookInput,
    channels::WebhookList,
    channels::WebhookTest,
    containers::ContainerDetail,
    containers::ContainerList,
    containers::ContainerLogs,
    containers::TransitionList,
    endpoints::CheckList,
    endpoints::ContainerEndpoints,
    endpoints::EndpointAnswer,
    endpoints::EndpointDetail,
    endpoints::EndpointInput,
    endpoints::EndpointList,
    endpoints::EndpointStatistics,
    endpoints::ProbeCounts,
    endpoints::Sparklines,
    error::ErrorBody,
    health::Edition,
    health::HealthStatus,
    health::JobList,
    health::RuntimeStatus,
    heartbeats::ExecutionList,
    heartbeats::Heartbeat,
    heartbeats::HeartbeatDetail,
    heartbeats::HeartbeatInput,
    heartbeats::HeartbeatList,
    heartbeats::PingList,
    heartbeats::Pong,
    insights::ContainerInsights,
    insights::InsightList,
    insights::InsightSummary,
    monitors::ConfigProblemList,
    monitors::DailyUptime,
    resources::HostAlerts,
    resources::HostAlertsInput,
    resources::HostHistory,
    resources::ResourceAlerts,
    resources::ResourceAlertsInput,
    resources::ResourceHistory,
    resources::ResourceSample,
    resources::ResourceSummary,
    resources::TopConsumers,
    status::Component,
    status::ComponentInput,
    status::Incident,
    status::IncidentInput,
    status::IncidentList,
    status::IncidentUpdate,
    status::IncidentUpdateInput,
    status::Maintenance,
    status::MaintenanceInput,
    status::PublicStatus,
    status::SubscribeInput,
    status::Subscribed,
    status::SubscriberList,
    updates::Exclusion,
    updates::ExclusionInput,
    updates::ExclusionList,
    updates::Pin,
    updates::PinInput,
    updates::Scan,
    updates::ScanStarted,
    updates::UpdateDetail,
    updates::UpdateDryRun,
    updates::UpdateList,
    updates::UpdateSummary,
];

queries![
    alerts::AlertQuery,
    alerts::SilenceQuery,
    certificates::CertificateListQuery,
    channels::NotificationQuery,
    containers::ContainerListQuery,
    containers::LogQuery,
    containers::TransitionQuery,
    endpoints::CheckQuery,
    endpoints::EndpointListQuery,
    endpoints::StatisticsQuery,
    heartbeats::HeartbeatListQuery,
    heartbeats::PingQuery,
    monitors::DailyUptimeQuery,
    monitors::PageQuery,
    resources::HistoryQuery,
    resources::TopQuery,
    status::IncidentQuery,
    status::MaintenanceQuery,
    updates::UpdateListQuery,
];
