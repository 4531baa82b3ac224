//! Looks for the contract's functions among the exports of a component's instances.
//!
//! An export that cannot be followed here must not be refused: the compiler checks it later.

use wasmparser::{
    ComponentAlias, ComponentExport, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Payload,
};

use super::ComponentError;

/// The functions of the contract, the same in all versions so far.
pub(super) const FUNCTIONS: [&str; 3] = ["describe", "prepare", "evaluate"];

/// Which of the functions exist. `None` if that cannot be determined.
pub(super) type FunctionsFound = Option<[bool; FUNCTIONS.len()]>;

/// The nested components and the instances of the outermost component, by their indices.
#[derive(Default)]
pub(super) struct FunctionSearch {
    components: Vec<FunctionsFound>,
    instances: Vec<FunctionsFound>,
}

impl FunctionSearch {
    /// A component that is nested directly in the outermost one begins.
    pub(super) fn begin_component(&mut self) {
        self.components.push(Some([false; FUNCTIONS.len()]));
    }

    /// Notes the exports of the nested component that began last.
    pub(super) fn note_nested(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        if let (Payload::ComponentExportSection(section), Some(Some(found))) =
            (payload, self.components.last_mut())
        {
            for export in section.clone() {
                let export = export?;
                note(found, export.name.name, export.kind);
            }
        }
        Ok(())
    }

    /// Notes a section of the outermost component other than its exports.
    pub(super) fn note_outermost(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    match import?.ty {
                        ComponentTypeRef::Instance(_) => self.instances.push(None),
                        ComponentTypeRef::Component(_) => self.components.push(None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.note_alias(&alias?);
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    let found = self.of_instance(&instance?);
                    self.instances.push(found);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the functions of an export. An export also adds an index.
    pub(super) fn note_export(&mut self, export: &ComponentExport<'_>) -> FunctionsFound {
        let space = match export.kind {
            ComponentExternalKind::Instance => &mut self.instances,
            ComponentExternalKind::Component => &mut self.components,
            _ => return None,
        };
        let found = at(space, export.index);
        space.push(found);
        found
    }

    fn note_alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Instance, .. } => {
                self.instances.push(None);
            }
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, .. } => {
                self.components.push(None);
            }
            _ => {}
        }
    }

    fn of_instance(&self, instance: &ComponentInstance<'_>) -> FunctionsFound {
        match instance {
            ComponentInstance::Instantiate { component_index, .. } => at(&self.components, *component_index),
            ComponentInstance::FromExports(exports) => {
                let mut found = [false; FUNCTIONS.len()];
                exports.iter().for_each(|export| note(&mut found, export.name.name, export.kind));
                Some(found)
            }
        }
    }
}

fn note(found: &mut [bool; FUNCTIONS.len()], name: &str, kind: ComponentExternalKind) {
    if kind == ComponentExternalKind::Func
        && let Some(place) = FUNCTIONS.iter().position(|function| *function == name)
    {
        found[place] = true;
    }
}

fn at(space: &[FunctionsFound], index: u32) -> FunctionsFound {
    usize::try_from(index).ok().and_then(|index| space.get(index).copied()).flatten()
}
