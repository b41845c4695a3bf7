//! Statements that change tables: making, altering, emptying and dropping tables that the plugin
//! may write, and indexes on them. Views, triggers, functions and temporary tables are refused: a
//! view reads, and a trigger writes, what the guard no longer sees.

use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, CheckConstraint, ColumnDef,
    ColumnOption, CreateIndex, CreateTable, CreateTableLike, CreateTableLikeKind,
    CreateTableOptions, Expr, ForeignKeyConstraint, FullTextOrSpatialConstraint, FunctionArg,
    FunctionArgExpr, FunctionArguments, IndexColumn, IndexConstraint, IndexOption, IndexType,
    MySQLColumnPosition, NamedParenthesizedList, ObjectName, ObjectNamePart, ObjectType,
    PrimaryKeyConstraint, RenameTable, RenameTableNameKind, SqlOption, Statement, TableConstraint,
    Truncate, UniqueConstraint, Value,
};
use sqlparser::tokenizer::Token;

use super::{Walk, types};
use crate::analysis::TableName;
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

    /// Of MySQL's options those that say how a table is kept and compared, and none that says where.
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

    fn constraint(&mut self, constraint: &mut TableConstraint) -> Outcome {
        match constraint {
            TableConstraint::Unique(unique) => self.unique(unique),
            TableConstraint::PrimaryKey(key) => self.primary_key(key),
            TableConstraint::ForeignKey(key) => self.foreign_key(key),
            TableConstraint::Check(check) => self.check(check),
            TableConstraint::Index(IndexConstraint {
                display_as_key: _,
                name,
                index_type: None | Some(IndexType::BTree | IndexType::Hash),
                columns,
                index_options,
            }) if plain_options(index_options) => {
                self.names(name)?;
                self.index_columns(columns)
            }
            TableConstraint::FulltextOrSpatial(FullTextOrSpatialConstraint {
                fulltext: _,
                index_type_display: _,
                opt_index_name,
                columns,
            }) => {
                self.names(opt_index_name)?;
                self.index_columns(columns)
            }
            _ => Err(Refusal::denied("a constraint of the table")),
        }
    }

    fn unique(&mut self, unique: &mut UniqueConstraint) -> Outcome {
        let UniqueConstraint {
            name,
            index_name,
            index_type_display: _,
            index_type: None,
            columns,
            include,
            index_options,
            characteristics: _,
            nulls_distinct: _,
        } = unique
        else {
            return Err(Refusal::unclear("UNIQUE … USING"));
        };
        if !plain_options(index_options) {
            return Err(Refusal::unclear("options of an index"));
        }
        self.names(name)?;
        self.names(index_name)?;
        self.names(include)?;
        self.index_columns(columns)
    }

    fn primary_key(&mut self, key: &mut PrimaryKeyConstraint) -> Outcome {
        let PrimaryKeyConstraint {
            name,
            index_name,
            index_type: None,
            columns,
            include,
            index_options,
            characteristics: _,
        } = key
        else {
            return Err(Refusal::unclear("PRIMARY KEY … USING"));
        };
        if !plain_options(index_options) {
            return Err(Refusal::unclear("options of an index"));
        }
        self.names(name)?;
        self.names(index_name)?;
        self.names(include)?;
        self.index_columns(columns)
    }

    /// A key tells which rows the other table has, and may keep others from deleting them: the
    /// plugin has to be granted both.
    fn foreign_key(&mut self, key: &mut ForeignKeyConstraint) -> Outcome {
        let ForeignKeyConstraint {
            name,
            index_name,
            columns,
            foreign_table,
            referred_columns,
            on_delete: _,
            on_update: _,
            match_kind: _,
            characteristics: _,
        } = key;
        self.names(name)?;
        self.names(index_name)?;
        self.names(columns)?;
        self.names(referred_columns)?;
        let table = self.table_name(foreign_table)?;
        self.keys.insert(table);
        Ok(())
    }

    fn check(&mut self, check: &mut CheckConstraint) -> Outcome {
        let CheckConstraint {
            name,
            expr,
            no_inherit: _,
            enforced: _,
        } = check;
        self.names(name)?;
        self.expr(expr)
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

    fn alter_table(&mut self, alter: &mut AlterTable) -> Outcome {
        let AlterTable {
            name,
            if_exists: _,
            only: false,
            operations,
            location: None,
            on_cluster: None,
            table_type: None,
            end_token: _,
        } = alter
        else {
            return Err(Refusal::denied("a clause of the ALTER TABLE"));
        };
        let altered = self.table_name(name)?;
        self.write(name)?;
        for operation in operations {
            match operation {
                AlterTableOperation::AddColumn {
                    column_keyword: _,
                    if_not_exists: _,
                    column_def,
                    column_position,
                } => {
                    self.column(column_def)?;
                    self.position(column_position)?;
                }
                AlterTableOperation::ModifyColumn {
                    col_name,
                    data_type,
                    options,
                    column_position,
                } => {
                    self.name(col_name)?;
                    types::check(self.dialect, data_type)?;
                    options
                        .iter_mut()
                        .try_for_each(|option| self.column_option(option))?;
                    self.position(column_position)?;
                }
                AlterTableOperation::ChangeColumn {
                    old_name,
                    new_name,
                    data_type,
                    options,
                    column_position,
                } => {
                    self.names([old_name, new_name])?;
                    types::check(self.dialect, data_type)?;
                    options
                        .iter_mut()
                        .try_for_each(|option| self.column_option(option))?;
                    self.position(column_position)?;
                }
                AlterTableOperation::AlterColumn { column_name, op } => {
                    self.name(column_name)?;
                    match op {
                        AlterColumnOperation::SetNotNull
                        | AlterColumnOperation::DropNotNull
                        | AlterColumnOperation::DropDefault => {}
                        AlterColumnOperation::SetDefault { value } => self.expr(value)?,
                        AlterColumnOperation::SetDataType {
                            data_type,
                            using,
                            had_set: _,
                        } => {
                            types::check(self.dialect, data_type)?;
                            self.optional(using.as_mut())?;
                        }
                        AlterColumnOperation::AddGenerated { .. } => {
                            return Err(Refusal::denied("this ALTER COLUMN"));
                        }
                    }
                }
                AlterTableOperation::DropConstraint {
                    if_exists: _,
                    name,
                    drop_behavior: None,
                }
                | AlterTableOperation::DropForeignKey {
                    name,
                    drop_behavior: None,
                }
                | AlterTableOperation::DropIndex { name } => self.name(name)?,
                AlterTableOperation::DropPrimaryKey {
                    drop_behavior: None,
                } => {}
                AlterTableOperation::RenameConstraint { old_name, new_name } => {
                    self.names([old_name, new_name])?;
                }
                AlterTableOperation::DropColumn {
                    has_column_keyword: _,
                    column_names,
                    if_exists: _,
                    drop_behavior: None,
                } => self.names(column_names)?,
                AlterTableOperation::RenameColumn {
                    old_column_name,
                    new_column_name,
                } => self.names([old_column_name, new_column_name])?,
                AlterTableOperation::RenameTable {
                    table_name: RenameTableNameKind::To(new) | RenameTableNameKind::As(new),
                } => {
                    // PostgreSQL leaves a renamed table where it is, MySQL moves it.
                    let table = self.table_name(new)?;
                    if table.schema() != altered.schema()
                        && (table.schema().is_some() || self.dialect == Dialect::Mysql)
                    {
                        return Err(Refusal::denied("a table that moves to another schema"));
                    }
                    let there = TableName::new(altered.schema(), table.name());
                    self.writes.insert(there);
                }
                AlterTableOperation::AutoIncrement { equals: _, value }
                    if matches!(value.value, Value::Number(..)) => {}
                AlterTableOperation::AddConstraint {
                    constraint,
                    not_valid: _,
                } => self.constraint(constraint)?,
                _ => return Err(Refusal::denied("this ALTER TABLE")),
            }
        }
        Ok(())
    }

    /// MySQL's FIRST and AFTER.
    fn position(&self, position: &mut Option<MySQLColumnPosition>) -> Outcome {
        match position {
            // The parser writes it without quotes.
            Some(MySQLColumnPosition::After(column)) if scan::is_plain_word(&column.value) => {
                column.quote_style = None;
                Ok(())
            }
            Some(MySQLColumnPosition::After(_)) => Err(Refusal::unclear("a name behind AFTER")),
            None | Some(MySQLColumnPosition::First) => Ok(()),
        }
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

/// Whether they say nothing but of which kind an index is.
fn plain_options(options: &[IndexOption]) -> bool {
    let is_plain = |option: &IndexOption| {
        matches!(
            option,
            IndexOption::Using(IndexType::BTree | IndexType::Hash)
        )
    };
    options.iter().all(is_plain)
}
