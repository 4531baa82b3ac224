//! Owns the search for the contract's functions among what a component's
//! instances export. Must never refuse what it cannot follow: types and
//! whatever else is wrong are the compiler's business.

use wasmparser::{
    ComponentAlias, ComponentExport, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Payload,
};

use super::ComponentError;

/// The functions of every version of the contract so far.
pub(super) const FUNCTIONS: [&str; 3] = ["describe", "prepare", "evaluate"];

/// Which of them are there. Nothing where that cannot be followed.
pub(super) type Found = Option<[bool; FUNCTIONS.len()]>;

/// By index: nested components and instances of the outermost component.
#[derive(Default)]
pub(super) struct Functions {
    components: Vec<Found>,
    instances: Vec<Found>,
}

impl Functions {
    /// A component begins inside of the outermost one.
    pub(super) fn begin_component(&mut self) {
        self.components.push(Some([false; FUNCTIONS.len()]));
    }

    /// What stands directly inside of the component that began last.
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

    /// What stands in the outermost component itself, but for its exports.
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

    /// What an export holds. It gets an index of its own, too.
    pub(super) fn note_export(&mut self, export: &ComponentExport<'_>) -> Found {
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

    fn of_instance(&self, instance: &ComponentInstance<'_>) -> Found {
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

fn at(space: &[Found], index: u32) -> Found {
    usize::try_from(index).ok().and_then(|index| space.get(index).copied()).flatten()
}
