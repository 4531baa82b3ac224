//! The single pass over the sections of a module or component. Imports and exports of nested parts
//! must not be taken for those of the plugin.

use wasmparser::{
    ComponentAlias, ComponentExport, ComponentExternalKind, ComponentOuterAliasKind, ComponentType,
    ComponentTypeRef, InstanceTypeDeclaration, Parser, Payload, TypeBounds,
};

use super::functions::{FunctionSearch, FunctionsFound};
use super::{ComponentError, ContractVersion, DEEPEST_NESTING, ModuleCounts, NameList};

#[derive(Default)]
pub(super) struct Survey {
    /// Imports other than types.
    pub(super) imports: NameList,
    pub(super) type_imports: NameList,
    pub(super) exports: NameList,
    pub(super) contract: Option<ContractVersion>,
    /// The contract's functions that its export has.
    pub(super) found: FunctionsFound,
    pub(super) counts: ModuleCounts,
    /// The component's own types, in the order of their indices.
    types: Vec<TypeKind>,
    functions: FunctionSearch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TypeKind {
    /// An instance with types only.
    InstanceOfTypes,
    Other,
}

impl Survey {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, ComponentError> {
        let mut survey = Survey::default();
        let mut nesting = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    if nesting == 0 && matches!(payload, Payload::ComponentSection { .. }) {
                        survey.functions.begin_component();
                    }
                    nesting += 1;
                    if nesting > DEEPEST_NESTING {
                        return Err(ComponentError::NestedTooDeeply);
                    }
                }
                Payload::End(_) => nesting = nesting.saturating_sub(1),
                // Only the outermost level: a nested part imports from the component around it.
                payload if nesting == 0 => {
                    survey.functions.note_outermost(payload)?;
                    survey.note_types(payload)?;
                    survey.note_interface(payload)?;
                }
                payload if nesting == 1 => survey.functions.note_nested(payload)?,
                _ => {}
            }
            survey.counts.add(&payload);
        }
        Ok(survey)
    }

    fn note_types(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        match payload {
            Payload::ComponentTypeSection(section) => {
                for declared in section.clone() {
                    self.types.push(TypeKind::of(&declared?));
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    if names_a_type(&alias?) {
                        self.types.push(TypeKind::Other);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_interface(&mut self, payload: &Payload<'_>) -> Result<(), ComponentError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    self.imports.add(&[import.module, " ", import.name]);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let import = import?;
                    self.note_import(import.name.name, import.ty);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.note_export(&export?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_import(&mut self, name: &str, imported: ComponentTypeRef) {
        match imported {
            // Every plugin imports the contract's types in this way. There is nothing to call in
            // them, so an empty linker satisfies them.
            ComponentTypeRef::Instance(index) if self.is_instance_of_types(index) => {
                self.type_imports.add(&[name]);
            }
            ComponentTypeRef::Type(_) => {
                self.types.push(TypeKind::Other);
                self.imports.add(&[name]);
            }
            _ => self.imports.add(&[name]),
        }
    }

    fn is_instance_of_types(&self, index: u32) -> bool {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.types.get(index) == Some(&TypeKind::InstanceOfTypes)
    }

    fn note_export(&mut self, export: &ComponentExport<'_>) {
        let name = export.name.name;
        let functions = self.functions.note_export(export);
        self.exports.add(&[name]);
        match export.kind {
            ComponentExternalKind::Type => self.types.push(TypeKind::Other),
            ComponentExternalKind::Instance => {
                let mut supported = ContractVersion::ALL.into_iter();
                let found = supported.find(|known| known.export_name() == name);
                if self.contract.is_none() && found.is_some() {
                    (self.contract, self.found) = (found, functions);
                }
            }
            _ => {}
        }
    }
}

impl TypeKind {
    fn of(declared: &ComponentType<'_>) -> Self {
        let ComponentType::Instance(declarations) = declared else {
            return TypeKind::Other;
        };
        let only_types = declarations.iter().all(|declaration| match declaration {
            InstanceTypeDeclaration::Export { ty, .. } => {
                matches!(ty, ComponentTypeRef::Type(TypeBounds::Eq(_)))
            }
            InstanceTypeDeclaration::Type(ComponentType::Resource { .. }) => false,
            _ => true,
        });
        if only_types { TypeKind::InstanceOfTypes } else { TypeKind::Other }
    }
}

fn names_a_type(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Type, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. }
    )
}

impl ModuleCounts {
    fn add(&mut self, payload: &Payload<'_>) {
        let (count, found) = match payload {
            Payload::FunctionSection(section) => (&mut self.functions, section.count()),
            Payload::MemorySection(section) => (&mut self.memories, section.count()),
            Payload::TableSection(section) => (&mut self.tables, section.count()),
            Payload::InstanceSection(section) => (&mut self.core_instances, section.count()),
            _ => return,
        };
        *count = count.saturating_add(u64::from(found));
    }
}
