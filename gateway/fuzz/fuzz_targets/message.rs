//! A body is a JSON-RPC message, or the error in answer to it is one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maintenant_gateway::jsonrpc;
use serde_json::Value;

fuzz_target!(|data: &[u8]| match jsonrpc::read(data) {
    Ok(id) => {
        assert!(id.is_string() || id.is_i64() || id.is_u64() || id.is_null());
        let fault = jsonrpc::no_mcp_message(data, &id);
        let error = jsonrpc::error(&fault.id, fault.code, &fault.message);
        assert_eq!(serde_json::from_slice::<Value>(&serde_json::to_vec(&error).unwrap()).unwrap(), error);
    }
    Err(fault) => assert!([-32700, -32600].contains(&fault.code)),
});
