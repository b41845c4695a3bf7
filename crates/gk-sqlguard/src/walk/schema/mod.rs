//! Statements that change tables: making, altering, emptying and dropping tables that the plugin
//! may write, and indexes on them. Views, triggers, functions and temporary tables are refused: a
//! view reads, and a trigger writes, what the guard no longer sees.

mod alter;
mod constraint;

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    ColumnDef, ColumnOption, CreateIndex, CreateTable, CreateTableLike, CreateTableLikeKind,
    CreateTableOptions, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, IndexColumn,
    IndexOption, IndexType, NamedParenthesizedList, ObjectName, ObjectNamePart, ObjectType,
    RenameTable, SqlOption, Statement, Truncate, Value,
};
use sqlparser::tokenizer::Token;

use super::{Walk, types};
use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};
use crate::scan;

impl Walk {
    pub(super) fn schema_change(&mut self, statement: &mut Statement) -> Outcome {
        match statement {
            Statement::CreateTable(create) => self.create_table(create),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::CreateIndex(create) => self.create_index(create),
            Statement::Drop {
                object_type,
                if_exists: _,
                names,
                cascade: false,
                restrict: _,
                purge: false,
                temporary: false,
                table,
            } => self.drop(*object_type, names, table.as_mut()),
            Statement::RenameTable(renamed) => {
                for RenameTable { old_name, new_name } in renamed {
                    let (old, new) = (self.write(old_name)?, self.write(new_name)?);
                    if old.schema() != new.schema() {
                        return Err(Refusal::denied("a table that moves to another schema"));
                    }
                }
                Ok(())
            }
            Statement::Truncate(Truncate {
                table_names,
                partitions: None,
                table: _,
                if_exists: false,
                // Sequences that belong to the table.
                identity: _,
                cascade: None,
                on_cluster: None,
            }) => {
                for target in table_names {
                    if target.only || target.has_asterisk {
                        return Err(Refusal::unclear("TRUNCATE ONLY"));
                    }
                    self.write(&mut target.name)?;
                }
                Ok(())
            }
            other => {
                let text = other.to_string();
                let verb = text.split_whitespace().next().unwrap_or_default();
                Err(Refusal::denied(format!(
                    "{verb} is not for plugins, in this form or any"
                )))
            }
        }
    }

    fn create_table(&mut self, create: &mut CreateTable) -> Outcome {
        if create.query.is_some() {
            return Err(Refusal::denied("CREATE TABLE … AS SELECT"));
        }
        self.write(&mut create.name)?;
        for column in &mut create.columns {
            self.column(column)?;
        }
        for constraint in &mut create.constraints {
            self.constraint(constraint)?;
        }
        // Whatever else a CREATE TABLE may have, this one has not.
        match &mut create.like {
            None => {}
            Some(CreateTableLikeKind::Plain(CreateTableLike {
                name,
                defaults: None,
            })) if self.dialect == Dialect::Mysql => {
                let table = self.table_name(name)?;
                self.reads.insert(table);
            }
            Some(_) => return Err(Refusal::denied("CREATE TABLE … LIKE")),
        }
        self.table_options(&mut create.table_options)?;
        let plain = CreateTableBuilder::new(create.name.clone())
            .like(create.like.clone())
            .table_options(create.table_options.clone())
            .columns(create.columns.clone())
            .constraints(create.constraints.clone())
            .if_not_exists(create.if_not_exists)
            .without_rowid(create.without_rowid)
            .strict(create.strict)
            .hive_formats(
                create
                    .hive_formats
                    .clone()
                    .filter(|formats| *formats == sqlparser::ast::HiveFormat::default()),
            )
            .build();
        if plain != *create {
            return Err(Refusal::denied(
                "a CREATE TABLE with more than columns and constraints",
            ));
        }
        Ok(())
    }

    /// Of MySQL's options those that say how a table is kept and compared, and none that says
    /// where.
    fn table_options(&self, options: &mut CreateTableOptions) -> Outcome {
        let refused = || {
            Refusal::denied(
                "an option of the table: ENGINE is InnoDB or Aria; CHARSET, COLLATE, COMMENT, \
                             AUTO_INCREMENT and ROW_FORMAT are there, too",
            )
        };
        let options = match options {
            CreateTableOptions::None => return Ok(()),
            CreateTableOptions::Plain(options) if self.dialect == Dialect::Mysql => options,
            _ => return Err(refused()),
        };
        for option in options {
            match option {
                SqlOption::Comment(_) => {}
                SqlOption::NamedParenthesizedList(NamedParenthesizedList {
                    key,
                    name: Some(engine),
                    values,
                }) if values.is_empty()
                    && key.value.eq_ignore_ascii_case("ENGINE")
                    // Others have no transactions, which `db_batch` promises.
                    && engine.value.eq_ignore_ascii_case("InnoDB") => {}
                SqlOption::KeyValue { key, value } => {
                    let known = [
                        "AUTO_INCREMENT",
                        "CHARACTER SET",
                        "CHARSET",
                        "COLLATE",
                        "DEFAULT CHARACTER SET",
                        "DEFAULT CHARSET",
                        "DEFAULT COLLATE",
                        "ROW_FORMAT",
                    ];
                    let is_plain = match value {
                        Expr::Identifier(word) => {
                            word.quote_style.is_none() && scan::is_plain_word(&word.value)
                        }
                        Expr::Value(value) => matches!(value.value, Value::Number(..)),
                        _ => false,
                    };
                    if !is_plain
                        || !known
                            .iter()
                            .any(|known| known.eq_ignore_ascii_case(&key.value))
                    {
                        return Err(refused());
                    }
                }
                _ => return Err(refused()),
            }
        }
        Ok(())
    }

    fn column(&mut self, column: &mut ColumnDef) -> Outcome {
        let ColumnDef {
            name,
            data_type,
            options,
        } = column;
        self.name(name)?;
        types::check(self.dialect, data_type)?;
        for option in options {
            self.names(&mut option.name)?;
            self.column_option(&mut option.option)?;
        }
        Ok(())
    }

    fn column_option(&mut self, option: &mut ColumnOption) -> Outcome {
        {
            match option {
                ColumnOption::Null | ColumnOption::NotNull => {}
                ColumnOption::Default(expr) | ColumnOption::OnUpdate(expr) => self.expr(expr)?,
                ColumnOption::PrimaryKey(key) => self.primary_key(key)?,
                ColumnOption::Unique(unique) => self.unique(unique)?,
                ColumnOption::ForeignKey(key) => self.foreign_key(key)?,
                ColumnOption::Check(check) => self.check(check)?,
                ColumnOption::Collation(name) => self.object_name(name)?,
                ColumnOption::DialectSpecific(tokens) => match tokens.as_slice() {
                    [Token::Word(word)]
                        if word.quote_style.is_none()
                            && ["AUTO_INCREMENT", "AUTOINCREMENT", "ASC", "DESC"]
                                .iter()
                                .any(|known| word.value.eq_ignore_ascii_case(known)) => {}
                    _ => return Err(Refusal::unclear("an option of a column")),
                },
                ColumnOption::Generated {
                    generated_as: _,
                    sequence_options,
                    generation_expr,
                    generation_expr_mode: _,
                    generated_keyword: _,
                } => {
                    if sequence_options
                        .as_ref()
                        .is_some_and(|options| !options.is_empty())
                    {
                        return Err(Refusal::unclear("options of a sequence"));
                    }
                    self.optional(generation_expr.as_mut())?;
                }
                ColumnOption::Comment(_) if self.dialect == Dialect::Mysql => {}
                ColumnOption::CharacterSet(name) if self.dialect == Dialect::Mysql => {
                    self.object_name(name)?;
                }
                _ => return Err(Refusal::denied("an option of a column")),
            }
        }
        Ok(())
    }

    fn index_columns(&mut self, columns: &mut [IndexColumn]) -> Outcome {
        for IndexColumn {
            column,
            operator_class,
        } in columns
        {
            if let Some(class) = operator_class {
                // The server's own, and those of its usual extensions.
                let is_known = self.dialect == Dialect::Postgres
                    && matches!(class.0.as_slice(), [only] if only.as_ident().is_some_and(|class| class.value.ends_with("_ops")));
                if !is_known {
                    return Err(Refusal::unclear("an operator class"));
                }
                self.object_name(class)?;
            }
            // MySQL: `body(10)` is the beginning of a column.
            if self.dialect == Dialect::Mysql
                && let Expr::Function(function) = &mut column.expr
                && let FunctionArguments::List(list) = &function.args
                && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(length)))] =
                    list.args.as_slice()
                && matches!(length.value, Value::Number(..))
                && list.clauses.is_empty()
                && list.duplicate_treatment.is_none()
                && function.over.is_none()
                && function.filter.is_none()
                && function.within_group.is_empty()
            {
                self.object_name(&mut function.name)?;
                continue;
            }
            self.order_exprs(std::slice::from_mut(column))?;
        }
        Ok(())
    }

    fn create_index(&mut self, create: &mut CreateIndex) -> Outcome {
        let CreateIndex {
            name: Some(name),
            table_name,
            using:
                None
                | Some(
                    IndexType::BTree
                    | IndexType::Hash
                    | IndexType::GIN
                    | IndexType::GiST
                    | IndexType::SPGiST
                    | IndexType::BRIN,
                ),
            columns,
            unique: _,
            concurrently: false,
            r#async: false,
            if_not_exists: _,
            include,
            nulls_distinct: _,
            with,
            predicate,
            index_options,
            alter_options,
        } = create
        else {
            return Err(Refusal::denied("a clause of the CREATE INDEX"));
        };
        if !with.is_empty() || !plain_options(index_options) || !alter_options.is_empty() {
            return Err(Refusal::denied("a clause of the CREATE INDEX"));
        }
        if name.0.len() != 1 {
            return Err(Refusal::denied("an index in a schema"));
        }
        self.object_name(name)?;
        self.write(table_name)?;
        self.index_columns(columns)?;
        self.names(include)?;
        self.optional(predicate.as_mut())
    }

    fn drop(
        &mut self,
        object_type: ObjectType,
        names: &mut [ObjectName],
        table: Option<&mut ObjectName>,
    ) -> Outcome {
        match (object_type, table) {
            (ObjectType::Table, None) => names
                .iter_mut()
                .try_for_each(|name| self.write(name).map(drop)),
            (ObjectType::Index, Some(table)) => {
                names
                    .iter_mut()
                    .try_for_each(|name| self.object_name(name))?;
                self.write(table).map(drop)
            }
            // Whose it is the engine tells, before it is dropped.
            (ObjectType::Index, None) if self.dialect != Dialect::Mysql => {
                for name in names {
                    self.object_name(name)?;
                    match name.0.as_slice() {
                        [ObjectNamePart::Identifier(index)] => {
                            self.drops.insert(index.value.clone());
                        }
                        _ => return Err(Refusal::denied("an index in a schema")),
                    }
                }
                Ok(())
            }
            (ObjectType::Index, None) => Err(Refusal::denied(
                "DROP INDEX without a table: whose index it is cannot be told",
            )),
            _ => Err(Refusal::denied(format!("DROP {object_type}"))),
        }
    }
}

/// Returns whether they say nothing but of which kind an index is.
fn plain_options(options: &[IndexOption]) -> bool {
    let is_plain = |option: &IndexOption| {
        matches!(
            option,
            IndexOption::Using(IndexType::BTree | IndexType::Hash)
        )
    };
    options.iter().all(is_plain)
}
