//! Which tools are offered.

use crate::error::nearest;
use crate::server::tool_names;
use crate::untrusted::quoted;

/// The operator's choice of tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolChoice {
    /// None but these.
    pub only: Option<Vec<String>>,
    /// Not these, whatever else is chosen.
    pub off: Vec<String>,
}

impl ToolChoice {
    /// The variable that switches `tool` off, if one does.
    pub fn switched_off_by(&self, tool: &str) -> Option<&'static str> {
        let names = |list: &[String]| list.iter().any(|name| name == tool);
        if names(&self.off) {
            return Some("MAINTENANT_MCP_TOOLS_OFF");
        }
        self.only.as_deref().is_some_and(|only| !names(only)).then_some("MAINTENANT_MCP_TOOLS")
    }
}

/// That all `names` are tools, or which are none.
pub(super) fn known(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("names no tool; unset it, or name some".to_owned());
    }
    let known = tool_names();
    let unknown = |name: &&String| !known.contains(name);
    let faults: Vec<String> = names
        .iter()
        .filter(unknown)
        .map(|name| match nearest(name, known.iter().map(String::as_str)).first() {
            Some(near) => format!("{} is no tool, did you mean `{near}`?", quoted(name)),
            None => format!("{} is no tool; the tools are: {}", quoted(name), known.join(", ")),
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_on_unless_a_list_says_otherwise() {
        let check = |only: Option<&[&str]>, off: &[&str], expected| {
            let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let choice = ToolChoice { only: only.map(names), off: names(off) };
            assert_eq!(choice.switched_off_by("get_health"), expected, "{choice:?}");
        };
        check(None, &[], None);
        check(Some(&["get_health"]), &[], None);
        check(Some(&["list_alerts"]), &[], Some("MAINTENANT_MCP_TOOLS"));
        check(Some(&["get_health"]), &["get_health"], Some("MAINTENANT_MCP_TOOLS_OFF"));
        check(None, &["list_alerts"], None);
    }

    #[test]
    fn an_unknown_tool_is_named_with_the_nearest() {
        let fault = known(&["list_alerts".to_owned(), "get_healht".to_owned()]).unwrap_err();
        assert_eq!(fault, "`get_healht` is no tool, did you mean `get_health`?");
        assert!(known(&[]).is_err());
    }
}
